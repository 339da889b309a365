def counted(get_response):
    def middleware(request):
        response = get_response(request)
        response["X-Path-Length"] = str(len(request.path))
        return response

    return middleware
