"""What tests share: tiny models, recordings, runs."""
