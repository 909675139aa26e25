"""What would have happened: recorded runs replayed through queues and pools, as they were and changed."""
