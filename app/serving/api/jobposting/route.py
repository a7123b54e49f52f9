"""The route `POST /classify/jobposting`."""

from fastapi import Request

from app.core.errors import InvalidRequestError
from app.schemas.jobposting_request import JobPostingDocument
from app.schemas.jobposting_response import JobPostingResponse
from app.serving.api.classify import CLASSIFY_RESPONSES, predict
from app.serving.api.dependencies import WITHOUT_QUERY, ReadyService, TimeoutHeader
from app.serving.api.guarded_route import Guard, api_keys, guarded_router
from app.serving.api.jobposting.enrichment import JobPostingEnricher, ad_of
from app.serving.api.json_body import BodyLimits
from app.serving.api.state import state_of
from app.serving.scheduling.lanes import Lane
from app.serving.settings import Settings

VALUES_A_POSTING = 200
"""A JobPosting with every property, its organisation, places and salary needs 150."""


def posting_limits(settings: Settings) -> BodyLimits:
    """Return the limits of a body that holds postings."""
    return BodyLimits(settings.max_body_bytes, settings.max_batch_ads, VALUES_A_POSTING)


jobposting_routes = guarded_router(Guard(api_keys, posting_limits))


@jobposting_routes.post(
    "/classify/jobposting",
    tags=["classify"],
    responses=CLASSIFY_RESPONSES,
    dependencies=[WITHOUT_QUERY],
)
async def classify_jobposting(
    request: Request,
    body: JobPostingDocument,
    service: ReadyService,
    timeout_ms: TimeoutHeader = None,
) -> JobPostingResponse:
    """Classify the postings of a JSON-LD document, and tell what to add to each."""
    max_batch_ads = state_of(request.app).settings.max_batch_ads
    sent = body.postings()
    if len(sent) > max_batch_ads:
        raise InvalidRequestError(
            f"body: {len(sent)} postings are more than {max_batch_ads}; send fewer at once."
        )
    lane = Lane.INTERACTIVE if len(sent) == 1 else Lane.BULK
    top_k = max(one.top_k for one in sent)
    ads = [ad_of(one) for one in sent]
    answers = await predict(request, service, ads, lane, top_k, timeout_ms)
    enricher = JobPostingEnricher(service.model_named(answers[0].model).heads)
    return JobPostingResponse(results=list(map(enricher.answer, sent, answers)))
