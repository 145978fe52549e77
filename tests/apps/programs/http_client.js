// node http_client.js ADDRESS PORT SECONDS: 32 requests at a time over kept connections, each with a body of random size that must come back the same.
const http = require("http");
const crypto = require("crypto");
const [host, port, seconds] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const agent = new http.Agent({ keepAlive: true, maxSockets: 32 });
const end = Date.now() + seconds * 1000;
let done = 0, bytes = 0;

function post() {
    return new Promise((resolve, reject) => {
        const body = crypto.randomBytes(Math.floor(Math.random() * 100000));
        const parts = [];
        http.request({ host, port, agent, method: "POST", path: "/echo" }, response => {
            response.on("data", part => parts.push(part));
            response.on("end", () => Buffer.concat(parts).equals(body) ? resolve(body.length) : reject(new Error("other bytes came back")));
        }).on("error", reject).end(body);
    });
}

async function work() {
    while (Date.now() < end) {
        const size = await post();  // first: `bytes += await` adds to what it was before
        bytes += size;
        ++done;
    }
}
Promise.all(Array.from({ length: 32 }, work)).then(() => {
    console.log(`${done} echoes, ${Math.round(bytes / 1e6)} MB each way, ${Math.round(done / seconds)} per second`);
    agent.destroy();
}, error => { console.error(error); process.exit(1); });
