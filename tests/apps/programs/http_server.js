// node http_server.js ADDRESS PORT: a small page at /small, what is posted comes back from anywhere else.
const http = require("http");
const page = Buffer.alloc(1024, "x");
http.createServer((request, response) => {
    if (request.url === "/small") {
        response.end(page);
    } else {
        request.pipe(response);
    }
}).listen(Number(process.argv[3]), process.argv[2], () => console.log("listens"));
