//! Wrong requests to `/api/v1`.

use super::Row;

pub const API: &[Row] = &[
    (404, "UNSUPPORTED", "GET /api/"),
    (404, "UNSUPPORTED", "GET /api/v1"),
    (404, "UNSUPPORTED", "GET /api/v1/"),
    (404, "UNSUPPORTED", "GET /api/v2/fills"),
    (404, "UNSUPPORTED", "GET /api/v1/unknown"),
    (405, "UNSUPPORTED", "GET /api/v1/fills/a/b/.."),
    (404, "UNSUPPORTED", "GET /api/v1/../v1/fills"),
    (405, "UNSUPPORTED", "POST /api/v1/upstreams"),
    (405, "UNSUPPORTED", "DELETE /api/v1/fills"),
    (405, "UNSUPPORTED", "GET /api/v1/warm"),
    (405, "UNSUPPORTED", "GET /api/v1/fills/<layer>"),
    (400, "DIGEST_INVALID", "DELETE /api/v1/fills/"),
    (400, "DIGEST_INVALID", "DELETE /api/v1/fills/x"),
    (400, "DIGEST_INVALID", "DELETE /api/v1/fills/..%2f.."),
    (404, "BLOB_UNKNOWN", "DELETE /api/v1/fills/<layer>"),
    (400, "UNSUPPORTED", "POST /api/v1/warm"),
    (400, "UNSUPPORTED", "POST /api/v1/warm\n\n{\"images\":[\"a\"],\"platforms\":[\"all\"]}"),
    (400, "UNSUPPORTED", "POST /api/v1/warm\nContent-Type: text/plain\n\n{\"images\":[\"a\"],\"platforms\":[\"all\"]}"),
    (400, "UNSUPPORTED", "POST /api/v1/warm\nContent-Type: application/json"),
    (400, "UNSUPPORTED", "POST /api/v1/warm\nContent-Type: application/json\n\n[]"),
    (400, "UNSUPPORTED", "POST /api/v1/warm\nContent-Type: application/json\n\n{}"),
    (
        400,
        "UNSUPPORTED",
        "POST /api/v1/warm\nContent-Type: application/json\n\n{\"images\":\"a\",\"platforms\":[\"all\"]}",
    ),
    (
        400,
        "UNSUPPORTED",
        "POST /api/v1/warm\nContent-Type: application/json\n\n{\"images\":[5],\"platforms\":[\"all\"]}",
    ),
    (
        400,
        "UNSUPPORTED",
        "POST /api/v1/warm\nContent-Type: application/json\n\n{\"images\":[],\"platforms\":[\"all\"]}",
    ),
    (400, "UNSUPPORTED", "POST /api/v1/warm\nContent-Type: application/json\n\n{\"images\":[\"a\"],\"platforms\":[]}"),
    (
        400,
        "UNSUPPORTED",
        "POST /api/v1/warm\nContent-Type: application/json\n\n{\"images\":[\"a\"],\"platforms\":[\"linux\"]}",
    ),
    (
        400,
        "UNSUPPORTED",
        "POST /api/v1/warm\nContent-Type: application/json\n\n{\"images\":[\"a\"],\"platforms\":[\"all\",\"linux/amd64\"]}",
    ),
    (
        400,
        "UNSUPPORTED",
        "POST /api/v1/warm\nContent-Type: application/json\n\n{\"images\":[\"a\"],\"platforms\":[\"all\"],\"more\":1}",
    ),
    (
        400,
        "UNSUPPORTED",
        "POST /api/v1/warm\nContent-Type: application/json\n\n{\"images\":[\"a\"],\"images\":[\"b\"],\"platforms\":[\"all\"]}",
    ),
    (400, "UNSUPPORTED", "POST /api/v1/warm\nContent-Type: application/json\n\n<[*100000>"),
    (
        400,
        "UNSUPPORTED",
        "POST /api/v1/warm\nContent-Type: application/json\n\n{\"images\":[\"<0xff>\"],\"platforms\":[\"all\"]}",
    ),
    (400, "UNSUPPORTED", "POST /api/v1/warm\nContent-Type: application/json\n\n\"<a*1048576>\""),
];
