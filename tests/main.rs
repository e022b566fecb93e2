//! Behaviour of the built binary over real sockets: nothing yet.
