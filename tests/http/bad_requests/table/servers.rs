//! Refusals of servers with a login, without deletion, and with a mirror.

use super::Row;

/// Requests to a registry that requires a login.
pub const GUARDED: &[Row] = &[
    (401, "UNAUTHORIZED", "GET /v2/"),
    (401, "UNAUTHORIZED", "GET /metrics"),
    (401, "UNAUTHORIZED", "GET /api/v1/fills"),
    (401, "UNAUTHORIZED", "POST /api/v1/warm\nContent-Type: application/json\n\n{"),
    (401, "UNAUTHORIZED", "GET /v2/_catalog"),
    (401, "UNAUTHORIZED", "HEAD /v2/team/app/manifests/latest"),
    (401, "UNAUTHORIZED", "GET /v2/team/app/blobs/<layer>"),
    (401, "UNAUTHORIZED", "DELETE /v2/team/app/blobs/<layer>"),
    (401, "UNAUTHORIZED", "POST /v2/team/app/blobs/uploads/"),
    (401, "UNAUTHORIZED", "POST /v2/team/app/blobs/uploads/?digest=<hello>\n\nhello"),
    (401, "UNAUTHORIZED", "PUT /v2/team/app/manifests/bad\n\n<a*200000>"),
    (401, "UNAUTHORIZED", "PATCH <open>\nContent-Range: 9-3\n\nhello"),
    (401, "UNAUTHORIZED", "PATCH <open>\nTransfer-Encoding: chunked\n\n5\r\nhello\r\n0\r\n\r\n"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization:"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic !!!"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic <basic:alice>"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic <basic::>"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic <basic::secret>"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic <basic:alice:wrong>"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic <basic:Alice:secret>"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic <basic:nobody:secret>"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic <basic:alice:secret >"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic <basic:alice:secret>,Basic x"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic /////w=="),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic <A*20000>"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: <0xff><0xfe>"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Bearer x"),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Negotiate YII="),
    (
        401,
        "UNAUTHORIZED",
        "GET /v2/\nAuthorization: Basic <basic:alice:wrong>\nAuthorization: Basic <basic:alice:secret>",
    ),
    (401, "UNAUTHORIZED", "GET /v2/\nAuthorization: Basic <basic:alice:secret>\nAuthorization: Basic <basic:bob:x>"),
    (401, "UNAUTHORIZED", "GET /v2/?access_token=secret"),
    (401, "UNAUTHORIZED", "GET http://alice:secret@elsewhere.example/v2/"),
    // An invalid request is refused without a login, since the refusal tells nothing about stored content.
    (400, "NAME_INVALID", "GET /v2/UPPER/tags/list"),
    (401, "UNAUTHORIZED", "GET /v2/a/tags/list?ns=unknown.example"),
];

/// Requests to a registry that does not allow deletion.
pub const KEPT: &[Row] = &[
    (405, "UNSUPPORTED", "DELETE /v2/team/app/manifests/latest"),
    (405, "UNSUPPORTED", "DELETE /v2/team/app/manifests/<image>"),
    (405, "UNSUPPORTED", "DELETE /v2/team/app/blobs/<layer>"),
    (405, "UNSUPPORTED", "DELETE /v2/team/app/blobs/<absent>"),
];

/// Requests to a mirror with `local/**` whose upstream is not reachable. The mirror refuses them without asking it.
pub const MIRROR: &[Row] = &[
    (403, "DENIED", "POST /v2/library/alpine/blobs/uploads/"),
    (403, "DENIED", "POST /v2/alpine/blobs/uploads/?digest=<hello>\n\nhello"),
    (403, "DENIED", "POST /v2/local/blobs/uploads/"),
    (403, "DENIED", "POST /v2/docker.io/library/alpine/blobs/uploads/?mount=<layer>&from=local/app"),
    (403, "DENIED", "PUT /v2/alpine/manifests/latest\n\n<manifest>"),
    (403, "DENIED", "PUT /v2/alpine/manifests/latest\n\n<a*5000000>"),
    (403, "DENIED", "PUT /v2/local/app/manifests/latest?ns=docker.io\n\n<manifest>"),
    (403, "DENIED", "PATCH /v2/alpine/blobs/uploads/<unknown>\n\nhello"),
    (403, "DENIED", "PUT /v2/alpine/blobs/uploads/<unknown>?digest=<hello>\n\nhello"),
    (403, "DENIED", "DELETE /v2/alpine/blobs/uploads/<unknown>"),
    (404, "NAME_UNKNOWN", "GET /v2/alpine/manifests/latest?ns=ghcr.io"),
    (404, "NAME_UNKNOWN", "GET /v2/alpine/manifests/latest?ns=docker.io:5000"),
    (404, "NAME_UNKNOWN", "GET /v2/alpine/manifests/latest?ns=docker.io/x"),
    (404, "NAME_UNKNOWN", "GET /v2/alpine/manifests/latest?ns=docker.io%00"),
    (404, "NAME_UNKNOWN", "GET /v2/alpine/manifests/latest?ns=https://docker.io"),
    (404, "NAME_UNKNOWN", "GET /v2/alpine/blobs/<absent>?ns=[::1"),
    (404, "NAME_UNKNOWN", "GET /v2/local/app/tags/list"),
    (400, "NAME_INVALID", "GET /v2/docker.io/../alpine/manifests/latest"),
    (400, "NAME_INVALID", "GET /v2/Docker.io/alpine/manifests/latest"),
    (404, "MANIFEST_UNKNOWN", "GET /v2/alpine/manifests/.bad?ns=docker.io"),
    (400, "DIGEST_INVALID", "GET /v2/alpine/blobs/sha256:abc?ns=docker.io"),
    (
        400,
        "UNSUPPORTED",
        "POST /api/v1/warm\nContent-Type: application/json\n\n{\"images\":[\"a\"],\"platforms\":[\"none\"]}",
    ),
];
