"""What protects users in the sum: clipping and noise with an accountant, and secure summation."""
