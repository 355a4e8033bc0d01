"""What is given to users to copy, and what README and docs/ say, is true."""
