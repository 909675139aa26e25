"""Runnable systems with one planted waste each, and decoy twins that look alike and are right as they are."""
