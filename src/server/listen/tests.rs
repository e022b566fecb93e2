use super::*;

fn http(addr: &str) -> config::Http {
    config::Http { addr: addr.to_owned(), drain_timeout: Duration::ZERO, ..config::Http::default() }
}

#[tokio::test]
async fn server_binds_the_configured_addresses() {
    for addr in [":0", "127.0.0.1:0", "localhost:0"] {
        let server = Server::bind(&http(addr), 1024).await.unwrap();
        assert_ne!(server.addr(Listener::Main).unwrap().port(), 0, "{addr}");
        assert_eq!(server.addr(Listener::Debug), None);
    }
}

#[tokio::test]
async fn bind_error_names_the_address_the_key_and_the_remedy() {
    let taken = Server::bind(&http("127.0.0.1:0"), 1024).await.unwrap();
    let addr = taken.addr(Listener::Main).unwrap().to_string();
    let debug =
        config::Http { debug: Some(config::Debug { addr: addr.clone(), prometheus: None }), ..http("127.0.0.1:0") };
    for (http, words) in [
        (http(&addr), [addr.as_str(), "http.addr", "stop the process"]),
        (debug, [addr.as_str(), "http.debug.addr", "stop the process"]),
        (http("192.0.2.1:5000"), ["192.0.2.1:5000", "http.addr", "no such address"]),
        (http(":99999"), [":99999", "http.addr", "HOST:PORT"]),
        (http("nonsense"), ["nonsense", "http.addr", "HOST:PORT"]),
    ] {
        let error = Server::bind(&http, 1024).await.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}
