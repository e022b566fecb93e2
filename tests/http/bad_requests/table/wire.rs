//! Malformed HTTP, written as it goes over the wire.

use super::Row;

/// Whole requests, as they go over the wire, which hyper or Entrepot refuses. Afterwards the connection may be closed. The code is
/// `""` where hyper answers, with or without a body.
pub const RAW: &[Row] = &[
    // The request line.
    (400, "", "GET\r\n\r\n"),
    (400, "", "GET /v2/\r\n\r\n"),
    (400, "", "GET  /v2/ HTTP/1.1\r\nHost: r\r\n\r\n"),
    (400, "", "GET /v2/ HTTP/1.1 x\r\nHost: r\r\n\r\n"),
    (400, "", "GET /v2/ HTTP/9.9\r\nHost: r\r\n\r\n"),
    (400, "", "GET /v2/ HTTP/1.\r\nHost: r\r\n\r\n"),
    (400, "", "GET /v2/ http/1.1\r\nHost: r\r\n\r\n"),
    (400, "", "GET /v2/ FTP/1.1\r\nHost: r\r\n\r\n"),
    (400, "", "G<0x00>T /v2/ HTTP/1.1\r\nHost: r\r\n\r\n"),
    (400, "", "GE(T /v2/ HTTP/1.1\r\nHost: r\r\n\r\n"),
    (400, "", "GET v2/ HTTP/1.1\r\nHost: r\r\n\r\n"),
    (400, "", "GET /v2/<0x00> HTTP/1.1\r\nHost: r\r\n\r\n"),
    (400, "", "GET /v2/a b HTTP/1.1\r\nHost: r\r\n\r\n"),
    (400, "", "GET http:// HTTP/1.1\r\nHost: r\r\n\r\n"),
    (400, "", "GET http://[::1/ HTTP/1.1\r\nHost: r\r\n\r\n"),
    (400, "", "<0x16><0x03><0x01><0x02><0x00><0x01><0x00><0x01>\r\n\r\n"),
    // The header.
    (400, "", "GET /v2/ HTTP/1.1\r\nHost : r\r\n\r\n"),
    (400, "", "GET /v2/ HTTP/1.1\r\n Host: r\r\n\r\n"),
    (400, "", "GET /v2/ HTTP/1.1\r\nHost: r\r\nno colon\r\n\r\n"),
    (400, "", "GET /v2/ HTTP/1.1\r\nHost: r\r\n: x\r\n\r\n"),
    (400, "", "GET /v2/ HTTP/1.1\r\nHost: r\r\nX<0x00>: y\r\n\r\n"),
    (400, "", "GET /v2/ HTTP/1.1\r\nHost: r\r\nX: y<0x00>\r\n\r\n"),
    (400, "", "GET /v2/ HTTP/1.1\r\nHost: r\r\nX: y\r\n folded\r\n\r\n"),
    (400, "", "GET /v2/ HTTP/1.1\r\nHost: r\r\nX: y\rZ: a\r\n\r\n"),
    (431, "", "GET /v2/ HTTP/1.1\r\nHost: r\r\n<X: y\r\n*101>\r\n"),
    (431, "", "GET /v2/ HTTP/1.1\r\nHost: r\r\nX: <y*70000>\r\n\r\n"),
    (431, "", "GET /v2/ HTTP/1.1\r\nHost: r\r\n<X*70000>: y\r\n\r\n"),
    // The length of the body.
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: -1\r\n\r\n"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: +5\r\n\r\nhello"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: 0x5\r\n\r\nhello"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: 5 5\r\n\r\nhello"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length:\r\n\r\n"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: <9*30>\r\n\r\n"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: 18446744073709551614\r\n\r\n"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: 18446744073709551615\r\n\r\n"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: 5, 6\r\n\r\nhello!"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: identity\r\n\r\n"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: gzip\r\n\r\n"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: xchunked\r\n\r\n"),
    (400, "", "POST /v2/a/blobs/uploads/ HTTP/1.0\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
];

/// Whole requests that Entrepot answers before it closes the connection.
pub const FRAMING: &[Row] = &[
    (400, "UNSUPPORTED", "GET /v2/ HTTP/1.1\r\n\r\n"),
    (400, "UNSUPPORTED", "GET http://r/v2/ HTTP/1.1\r\n\r\n"),
    (400, "UNSUPPORTED", "GET /v2/ HTTP/1.1\r\nHost: r\r\nHost: r\r\n\r\n"),
    (400, "UNSUPPORTED", "GET /v2/ HTTP/1.1\r\nHost: r\r\nHost: other\r\n\r\n"),
    (400, "UNSUPPORTED", "GET /v2/ HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, "UNSUPPORTED", "GET /v2/ HTTP/1.1\r\nHost: u:p@r\r\n\r\n"),
    (400, "UNSUPPORTED", "GET /v2/ HTTP/1.1\r\nHost: r/v2\r\n\r\n"),
    (400, "UNSUPPORTED", "GET /v2/ HTTP/1.1\r\nHost: <0xff>\r\n\r\n"),
    (
        400,
        "UNSUPPORTED",
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "UNSUPPORTED",
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "UNSUPPORTED",
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    // Where two readers would see different ends of the body, the bytes after it are not read as a request.
    (
        400,
        "NAME_INVALID",
        "POST /v2/UPPER/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\nDELETE /v2/team/app/manifests/latest HTTP/1.1\r\nHost: r\r\n\r\n",
    ),
    (
        400,
        "NAME_INVALID",
        "POST /v2/UPPER/blobs/uploads/ HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n\
         0\r\n\r\nDELETE /v2/team/app/manifests/latest HTTP/1.1\r\nHost: r\r\n\r\n",
    ),
    // Invalid chunks: the bytes before them are not taken as the whole body.
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PATCH <fresh> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PATCH <fresh> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PATCH <fresh> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PATCH <fresh> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PATCH <fresh> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n<f*17>\r\nhello\r\n0\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PATCH <fresh> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PATCH <fresh> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PATCH <fresh> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n5;<x*20000>\r\nhello\r\n0\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PATCH <fresh> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n<1;x=yyyyyyyyyyyyyyyyyyyyyyyy\r\na\r\n*2000>0\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PATCH <fresh> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n<X: y\r\n*5000>\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PUT <begun>?digest=<hello> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n0\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "POST /v2/team/app/blobs/uploads/?digest=<hello> HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n\r\n",
    ),
    (
        400,
        "BLOB_UPLOAD_INVALID",
        "PUT /v2/team/app/manifests/bad HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    ),
];
