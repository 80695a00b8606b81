"""Tasks: what a prediction and a score is; nothing else differs between speech recognition and audio events."""
