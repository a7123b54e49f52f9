"""Plain FastAPI: a call of transformers a request, in the framework's own threads."""

from fastapi import FastAPI
from pydantic import BaseModel

from tests.measurements.peers.servers.two_heads import TwoHeads

app = FastAPI()
model = TwoHeads()


class Question(BaseModel):
    """An ad."""

    text: str


@app.post("/classify")
def classify(question: Question) -> dict[str, dict[str, object]]:
    """Answer for one ad."""
    return model([question.text])[0]
