"""The page that the registrar's API shows to people: HTML, CSS and JavaScript as browsers get them, and how.

Nothing is built: what is in this folder is what a browser runs.  index.html says which file does what.
"""
