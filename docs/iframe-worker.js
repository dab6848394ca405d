/* The search of pages that are opened from a disk: browsers start no worker there, so a hidden frame does its work.
   The theme looks for the name IFrameWorker. */
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      this.ready = new Promise(resolve => (this.frame.onload = resolve))
      window.addEventListener("message", event => {
        if (event.source !== this.frame.contentWindow) return
        const message = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(message)
        if (this.onmessage) this.onmessage(message)
      })
      const load = (...urls) =>
        urls.reduce(
          (before, address) =>
            before.then(
              () =>
                new Promise((resolve, reject) => {
                  const script = document.createElement("script")
                  Object.assign(script, { src: address, onload: resolve, onerror: reject })
                  document.body.append(script)
                })
            ),
          Promise.resolve()
        )
      const inside = this.frame.contentDocument
      inside.open()
      inside.write(
        `<body><script>postMessage = data => parent.postMessage(data, "*"); importScripts = ${load}</` +
          `script><script src="${url}"></` +
          "script></body>"
      )
      inside.close()
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
    }
    terminate() {
      this.frame.remove()
    }
  }
}
