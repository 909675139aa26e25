"""What happens around every operation: an interceptor chain, one concern each."""
