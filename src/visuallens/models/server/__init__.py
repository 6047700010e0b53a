"""The backbone `server`: any model server that speaks the OpenAI API."""
