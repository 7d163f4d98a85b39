"""What clients do to their change before they upload it: one file each, its options with the bytes they cost."""
