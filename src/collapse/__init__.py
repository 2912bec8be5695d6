"""What happens when generative models are trained on generated data."""
