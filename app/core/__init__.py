"""The vocabulary that all share: errors, value types, head labels, logits to answers."""
