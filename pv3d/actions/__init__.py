"""What the commands do once their options are known: a module for each script, imported when its command runs."""
