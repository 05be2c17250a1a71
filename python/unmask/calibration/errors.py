"""What ends a calibration without settings."""


class NotSeparableError(ValueError):
    """DAPD cannot be set up for this model with these prompts; the message says what to do."""
