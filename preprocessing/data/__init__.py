"""Numbers that were measured, beside the code that reads them."""
