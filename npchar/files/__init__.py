"""Files: models and trainings on the disk, written whole or not at all, read with suspicion."""
