"""What is said to a kernel of Jupyter's, for the visitors."""


def execute(code):
    return {
        "channel": "shell",
        "header": {
            "msg_id": "1",
            "session": "1",
            "username": "visitor",
            "version": "5.3",
            "msg_type": "execute_request",
        },
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False, "store_history": False},
        "buffers": [],
    }
