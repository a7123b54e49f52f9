"""The two-head network and its checkpoint folder."""

from app.model.classifier import TwoHeadClassifier, TwoHeadConfig

__all__ = ["TwoHeadClassifier", "TwoHeadConfig"]
