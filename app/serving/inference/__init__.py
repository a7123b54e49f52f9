"""From an ad to a prediction: service, explanations, loading, hot swap."""
