"""What runs leave behind: result.json as types, the run folder, and reading both back."""
