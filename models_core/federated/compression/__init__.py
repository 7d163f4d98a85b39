"""What clients do to their change before they upload it: one file each, options with the bytes they cost, and `build`."""
