"""A record of any public dataset -> instruction, input and response."""
