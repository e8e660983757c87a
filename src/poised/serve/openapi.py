"""What /openapi.json says beside the shapes: the form that is sent, errors, examples."""

from __future__ import annotations

from typing import Any

from poised.serve.answers import Failed
from poised.serve.upload import FORM


def poses_form(images: int) -> dict[str, Any]:
    """What is sent for poses of so many images at most."""
    schema = {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {
            "image": {
                "type": "array",
                "minItems": 1,
                "maxItems": images,
                "items": {"type": "string", "format": "binary"},
                "description": "JPEG, PNG, BMP, WebP, TIFF, GIF, AVIF or HEIC files",
            },
            "model": {
                "type": "string",
                "description": "a name of /v1/models; left out: the default",
                "example": "coco17",
            },
            "heatmaps": {
                "type": "string",
                "enum": ["true", "false"],
                "default": "false",
                "description": "true: each person's maps, too",
            },
        },
    }
    content = {"schema": schema, "encoding": {"image": {"contentType": "image/*"}}}
    return {"requestBody": {"required": True, "content": {FORM: content}}}


MEANINGS = {
    400: "The body is no multipart form, or was cut short.",
    404: "No such model; the error names those there are.",
    408: "The upload took too long.",
    413: "Too many bytes, pixels or images.",
    415: "The body is of another type.",
    422: "An image or a field that cannot be used; the error names it.",
    429: "Too many requests a second; Retry-After says when to come again.",
    500: "The server's own fault.",
    503: "Too many requests are under way; Retry-After says when to come again.",
    504: "Not done in time.",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Failed, "description": text} for status, text in MEANINGS.items()
}
for _status in (429, 503):
    ERRORS[_status]["headers"] = {
        "Retry-After": {"description": "seconds", "schema": {"type": "integer"}}
    }

_EXAMPLES: dict[str, Any] = {
    "predict": {
        "model": "coco17",
        "seconds": 0.12,
        "images": [
            {
                "file_name": "a.jpg",
                "width": 640,
                "height": 480,
                "people": [
                    {
                        "bbox": [212.4, 80.1, 140.2, 322.8],
                        "box_score": 0.9123,
                        "score": 0.8012,
                        "keypoints": [[281.33, 118.7, 0.9411], [288.02, 111.95, 0.9302]],
                    }
                ],
            }
        ],
    },
    "models": {
        "models": [
            {
                "name": "coco17",
                "description": "people's 17 COCO keypoints",
                "input": [192, 256],
                "megabytes": 13.8,
                "threshold": 0.5,
                "skeleton": {
                    "name": "coco17",
                    "keypoints": ["nose", "left_eye"],
                    "limbs": [[0, 1]],
                    "pairs": [],
                },
            }
        ],
        "default": "coco17",
    },
    "health": {"status": "ok"},
}


def examples(route: str) -> dict[int | str, dict[str, Any]]:
    """What a route answers when all is well."""
    if route == "metrics":
        text = {"schema": {"type": "string"}, "example": "poised_images_total 12.0\n"}
        return {200: {"content": {"text/plain": text}}}
    return {200: {"content": {"application/json": {"example": _EXAMPLES[route]}}}}
