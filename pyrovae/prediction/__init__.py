"""What a trained pair says: draws of its sites, predictions, generated data, encodings; reduced or filed."""
