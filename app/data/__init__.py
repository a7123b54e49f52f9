"""Files of ads and their labels."""
