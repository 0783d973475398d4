"""What runs the functions: stackfile says which there are, process starts and stops them, replica is one of their processes."""
