"""Writing rules and webhooks, looking for what they ask, delivering what was found."""
