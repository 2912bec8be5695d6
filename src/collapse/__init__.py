"""What happens when generative models are trained on generated data."""

__version__ = "0.1.0"
