"""What tests of several folders share: helpers and factories, never a test."""
