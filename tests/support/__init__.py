"""What several tests need to make their inputs. Nothing here is under test."""
