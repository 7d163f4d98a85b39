"""What every app stands on: ids, errors, the tenancy walls, doors, the queue and the live bus."""
