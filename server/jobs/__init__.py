"""What runs apart from any request; each job is a plain coroutine over the ports, and the worker says when it runs."""
