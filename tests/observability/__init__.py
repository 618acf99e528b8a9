"""What embedq logs."""
