"""What the SDK does, over its ports: record, exchange, enrol, verify."""
