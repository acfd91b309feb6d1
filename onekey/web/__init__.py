"""The doors: what HTTP asks, said to the use cases; what they answer, said in HTTP."""
