//! Simulations: cores against a made-up world, so often that what is rare happens. All of it is in `tests/`.
