"""The HTTP edge: routes, limits and the translation of faults. It knows the application and no adapter."""
