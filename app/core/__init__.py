"""The vocabulary that all share: errors, value types, head labels, label files, logits to
answers.
"""
