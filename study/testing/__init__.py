"""One choice per arm; when the test patients are opened, and that."""
