"""What can be done to a server by Locust; each module has one kind of user."""
