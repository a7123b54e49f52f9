"""Plain FastAPI: one call of transformers for each request, in the framework's threads."""

from fastapi import FastAPI
from pydantic import BaseModel

from tests.measurements.peers.servers.two_heads import TwoHeads

app = FastAPI()
model = TwoHeads()


class AdText(BaseModel):
    """The body of a request."""

    text: str


@app.post("/classify")
def classify(ad: AdText) -> dict[str, dict[str, object]]:
    """Classify one ad."""
    return model([ad.text])[0]
