"""What is given to users to copy, and what the README says, is true."""
