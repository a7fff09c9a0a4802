"""What people who look at `/` are shown while they look: batches, rates, times. Event loop."""
