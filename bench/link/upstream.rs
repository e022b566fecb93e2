//! Requests that a client without a server sends to the upstream itself: for a token, the manifest, and the link of a layer.

use crate::pull::Wanted;
use crate::support::client::Client;

/// Returns the address of a URL: `127.0.0.1:5000` of `http://127.0.0.1:5000`.
fn client(url: &str) -> Client {
    Client::new(url.trim_start_matches("http://").parse().unwrap())
}

/// Returns the value of the header `Authorization` that opens a repository.
pub fn authorization(url: &str, repository: &str) -> String {
    let answer = client(url).get(&format!("/token?service=test&scope=repository:{repository}:pull"));
    format!("Bearer {}", answer.json()["token"].as_str().unwrap())
}

/// Gets a token and the manifest, and returns the link of the layer at the CDN. An error is the status of the manifest or the layer.
pub fn link(url: &str, wanted: &Wanted) -> Result<String, u16> {
    let authorization = authorization(url, wanted.repository);
    let client = client(url);
    let get = |target: &str| client.request("GET", target).header("Authorization", &authorization).send();
    let manifest = get(&wanted.manifest());
    if manifest.status != 200 || manifest.body != wanted.image.manifest {
        return Err(manifest.status);
    }
    let answer = get(&wanted.layer());
    answer.header("location").map(str::to_owned).ok_or(answer.status)
}
